"""Muster: from raw texts or images and a few dozen labels to a model that has passed muster.

>>> import passmuster
>>> passmuster.Project.__name__
'Project'
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Project", "__version__"]

if TYPE_CHECKING:  # a type checker reads the classes themselves, and refuses a name that is none
    from passmuster.flows.project import Project
else:

    def __getattr__(name: str) -> Any:
        """The public names, loaded when first asked for, so that the command's help stays quick."""
        if name == "Project":
            from passmuster.flows.project import Project

            return Project
        raise AttributeError(f"module 'passmuster' has no attribute {name!r}")
