"""The admin API: what people, the operator and other programs ask of the fleet, jobs and credentials."""
