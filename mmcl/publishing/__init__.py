"""Publishing: export a trained model as a folder for a model hub, with a model card and an ONNX graph."""
