"""Measures a model through the product's engine, on seeds no training has seen."""
