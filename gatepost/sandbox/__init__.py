"""A Genesys Cloud of one's own: what the vendor documents of SCIM, tokens and leavers, over loopback, in memory.

For the demo and the tests. The protocol is scim2-server's; each module says where it deviates as the vendor does.
Nothing is imported here: scim2-server comes with the extra ``demo``.
"""
