"""Kills, stops and cuts off every part of a running service and audits what became of its tasks."""
