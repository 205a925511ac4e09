"""The operators' API under ``/v1``: reads of what is kept, and retries."""
