"""Names that definitions need and Dagster does not export: an upgrade that moves them is noticed here.

``AssetJob`` is what ``define_asset_job`` returns. The others are the tags by which Dagster decides whether an
asset is in sync with what it was made of.
"""

from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    INPUT_EVENT_POINTER_TAG_PREFIX,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition as AssetJob

__all__ = [
    "CODE_VERSION_TAG",
    "INPUT_EVENT_POINTER_TAG_PREFIX",
    "NULL_EVENT_POINTER",
    "AssetJob",
    "get_input_data_version_tag",
    "get_input_event_pointer_tag",
]
