"""What a trained model is used for: prediction and export."""
