"""The kernel of contrastive objectives: tiled similarities, implicit weight matrices, and gathers over processes."""
