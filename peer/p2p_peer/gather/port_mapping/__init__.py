"""Ports that the gateway opens for us when it is asked to: by PCP or NAT-PMP, else by UPnP.

gateways   whom to ask;  mapper  what the three protocols have in common;  mapping  the choice, renewal and release
pcp, nat_pmp   over questions, datagrams to and fro;  upnp  over ssdp and http, with soap for what is said
"""
