"""What trainer and worker must agree on: messages, text, models, bundles, registry, errors."""

import os

# Read when NumPy is first imported. On matrices as small as the networks' its threads wait for each
# other: they cost four times the CPU that one takes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
