"""The run launcher: dagster-celery's, which also tells Dagster that a run is being cancelled.

What belongs here: what ``CeleryRunLauncher`` lacks for a run that a person terminates in the UI. What does
not: how runs are launched.
"""

from dagster_celery.launcher import CeleryRunLauncher


class RunLauncher(CeleryRunLauncher):
    """``CeleryRunLauncher``, under which a terminated run ends as cancelled.

    As it comes, it revokes the task and says nothing to Dagster, whose run monitoring would then find a run
    without a worker, mark it as failed and have it tried again.
    """

    def terminate(self, run_id: str) -> bool:
        """Mark the run as being cancelled and end its task; run monitoring does the rest."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return bool(super().terminate(run_id))
