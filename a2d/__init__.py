"""From parallel text to small, fast translation models by knowledge distillation."""
