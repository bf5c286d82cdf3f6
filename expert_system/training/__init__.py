"""From a recipe to a proven expert: data, training, evaluation.

recipe -> dataset -> train -> validate -> manifest
"""
