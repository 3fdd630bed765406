from tests.peer.pair import Pair, soon
from p2p_peer.events import MessageReceived

async def test_messages_go_both_ways(pair: Pair) -> None:
    await soon(pair.initiator.session.send_message("hello"))
    await soon(pair.responder.session.send_message("hello yourself"))
    assert (await pair.responder.wait_for(MessageReceived)).text == "hello"
    assert (await pair.initiator.wait_for(MessageReceived)).text == "hello yourself"

async def test_file(pair: Pair) -> None:
    r = await pair.transfer("a", 5*2**20+3)
    print(r)

async def test_close(pair: Pair) -> None:
    await pair.close()
