"""What any tuning holds in memory beside weights and rows, for the recipes' estimates."""

START_BYTES = 2**30
"""Of torch itself: its libraries, or a GPU's context and what its matrix products work with."""
LEARNING_BYTES = 12
"""Of each weight that is trained, in float32: its gradient and AdamW's two moments."""
KEEPING_BYTES = 8
"""Of each, in the process's own memory: the best so far, and what a checkpoint copies."""
