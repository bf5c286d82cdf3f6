"""How a router model is made: data -> examples -> fine-tuned encoder -> INT8 graph -> calibration -> figures."""
