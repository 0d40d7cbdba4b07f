"""What trainer and worker share: text, models, bundles, registry, settings, errors."""

import os

# NumPy reads it when it is first imported. On matrices as small as those of the networks, threads
# wait for each other and use four times the CPU of one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
