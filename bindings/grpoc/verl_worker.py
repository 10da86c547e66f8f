"""verl imports the module that `model.external_lib` names in every worker; this one begins to write dumps
there. They go into the folder GRPOC_DUMPS (dumps), one folder a process."""
import os

from .verl import Watch

watch = Watch(os.path.join(os.environ.get("GRPOC_DUMPS", "dumps"), f"worker-{os.getpid()}"))
