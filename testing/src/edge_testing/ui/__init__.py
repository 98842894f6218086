"""What tests of the fleet page run on."""
