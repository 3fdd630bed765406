"""The mediator: it checks who each peer is, tells two peers that asked for each other where the other one is, and
steps aside. docs/protocol/mediator.md.

    cli → app → meet → handshake, heartbeat, stream      one peer's conversation
                  └──→ stores → matching                 who is matched with whom, who is told
              → relay → relay_desk → relay_bridge        tickets, and bytes between two that have them
              → stun_responder                           "from this address, as I see it"
"""
