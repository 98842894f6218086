"""What every HTTP call passes on its way in and out."""
