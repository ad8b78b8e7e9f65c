# SPDX-License-Identifier: MIT
"""pysnmp's asyncore transport: an agent answers a manager."""

import unittest

import support
from support import asyncore, kit

dispatch, udp = support.need(
    "pysnmp.carrier.asyncore.dispatch", "pysnmp.carrier.asyncore.dgram.udp"
)
api, encoder, decoder = support.need(
    "pysnmp.proto.api", "pyasn1.codec.ber.encoder", "pyasn1.codec.ber.decoder"
)
OID = (1, 3, 6, 1, 2, 1, 1, 1, 0)
ANSWER = b"an agent on asyncore"


class Agent:
    """It answers every GET with the same text."""

    def __init__(self, dispatcher):
        self.module = api.protoModules[api.protoVersion2c]
        transport = udp.UdpTransport().openServerMode(("127.0.0.1", 0))
        self.address = transport.socket.getsockname()
        dispatcher.registerRecvCbFun(self.receive)
        dispatcher.registerTransport(udp.domainName + (1,), transport)

    def receive(self, dispatcher, domain, address, message):
        module = self.module
        while message:
            request, message = decoder.decode(
                message, asn1Spec=module.Message()
            )
            response = module.apiMessage.getResponse(request)
            pdu = module.apiMessage.getPDU(response)
            module.apiPDU.setVarBinds(
                pdu, [(OID, module.OctetString(ANSWER))]
            )
            dispatcher.sendMessage(encoder.encode(response), domain, address)
        return message


class SNMPTest(kit.TestCase):
    def manager(self, address, answers):
        """A dispatcher whose job is one question."""
        module = api.protoModules[api.protoVersion2c]
        pdu = module.GetRequestPDU()
        module.apiPDU.setDefaults(pdu)
        module.apiPDU.setVarBinds(pdu, [(OID, module.Null(""))])
        message = module.Message()
        module.apiMessage.setDefaults(message)
        module.apiMessage.setCommunity(message, "public")
        module.apiMessage.setPDU(message, pdu)
        dispatcher = dispatch.AsyncoreDispatcher()

        def receive(dispatcher, domain, peer, message):
            response, rest = decoder.decode(message, asn1Spec=module.Message())
            pdu = module.apiMessage.getPDU(response)
            for _, value in module.apiPDU.getVarBinds(pdu):
                answers.append(bytes(value))
            dispatcher.jobFinished(1)
            return rest

        dispatcher.registerRecvCbFun(receive)
        transport = udp.UdpTransport().openClientMode()
        dispatcher.registerTransport(udp.domainName, transport)
        dispatcher.sendMessage(
            encoder.encode(message), udp.domainName, address
        )
        dispatcher.jobStarted(1)
        return dispatcher

    def test_get(self):
        """Both in one process: the agent's map is served by hand, the
        manager's by its own loop."""
        server = dispatch.AsyncoreDispatcher()
        agent = Agent(server)
        answers = []
        client = self.manager(agent.address, answers)
        ticks = []

        def serve_agent(now):
            ticks.append(now)
            asyncore.loop(0, True, server.getSocketMap(), 1)

        client.registerTimerCbFun(serve_agent, 0.01)
        client.setTimerResolution(0.01)
        client.runDispatcher()
        client.closeDispatcher()
        server.closeDispatcher()
        self.assertEqual(answers, [ANSWER])
        self.assertTrue(ticks)

    def test_error_of_a_callback(self):
        """pysnmp's handle_error is a bare raise."""
        server = dispatch.AsyncoreDispatcher()
        agent = Agent(server)
        answers = []
        client = self.manager(agent.address, answers)
        agent.receive = None
        server.unregisterRecvCbFun()

        def fail(*_):
            raise KeyError("of the callback")

        server.registerRecvCbFun(fail)
        with self.assertRaisesRegex(Exception, "of the callback"):
            for _ in range(100):
                asyncore.loop(0.01, True, client.getSocketMap(), 1)
                asyncore.loop(0.01, True, server.getSocketMap(), 1)
        client.jobFinished(1)
        client.closeDispatcher()
        server.closeDispatcher()


if __name__ == "__main__":
    unittest.main()
