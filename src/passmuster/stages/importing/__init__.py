"""Import: a model that was made elsewhere becomes a bundle, which is judged, released, served and watched like any."""

from passmuster.stages.importing.endpoint_stage import import_endpoint
from passmuster.stages.importing.keeping import ImportResult
from passmuster.stages.importing.stage import import_model

__all__ = ["ImportResult", "import_endpoint", "import_model"]
