"""The way to the edge API: enrolment and credential, transports, sessions, reconnects."""
