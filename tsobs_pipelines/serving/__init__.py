"""How tsobs serves HTTP: what the API and the wrapper around Dagster's webserver have in common."""
