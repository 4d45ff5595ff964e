"""A bad network: cutting_proxy.py PORT CUTS

Listens on a port of its own ("port N" on stdout) and passes connections on to PORT of this host.
CUTS times, each after more has passed, it cuts all connections at once ("cut" on stdout), in turn
with an end and with a reset; then no more.  SIGUSR1 cuts, too.
"""
import asyncio
import signal
import socket
import struct
import sys

FIRST_CUT, CUT_EVERY = 20_000, 150_000  # bytes


class Network:
    def __init__(self, cuts):
        self.cuts_left, self.cuts, self.until_cut = cuts, 0, FIRST_CUT
        self.ends = set()

    def passed(self, count):
        self.until_cut -= count
        if self.until_cut <= 0 and self.cuts_left > 0:
            self.until_cut = CUT_EVERY
            self.cuts_left -= 1
            self.cut()

    def cut(self):
        for end in self.ends:
            if self.cuts % 2:
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.abort()
        self.cuts += 1
        print("cut", flush=True)

    async def pump(self, reader, writer):
        self.ends.add(writer.transport)
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
                self.passed(len(data))
        except OSError:
            pass
        writer.close()
        self.ends.discard(writer.transport)

    async def serve(self, port, client_reader, client_writer):
        try:
            host_reader, host_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            client_writer.close()
            return
        await asyncio.gather(self.pump(client_reader, host_writer), self.pump(host_reader, client_writer))


async def main(port, cuts):
    network = Network(cuts)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, network.cut)
    server = await asyncio.start_server(lambda r, w: network.serve(port, r, w), "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
