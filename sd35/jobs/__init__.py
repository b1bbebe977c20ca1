"""The durable job queue: submit, schedule, run, record, recover."""
