"""Figures: from data frames to PDF, SVG and PNG."""
