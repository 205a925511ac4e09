"""The SCIM client: filters, bodies, answers and what they mean (RFC 7643, RFC 7644)."""
