"""Publishing: a trained model as a folder for a hub, with its card and an ONNX graph."""
