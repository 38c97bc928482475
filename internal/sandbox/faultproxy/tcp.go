package faultproxy

import (
	"io"
	"net"
)

// TCP passes connections on to a server without looking into them: a client
// keeps its own TLS and credentials.
type TCP struct {
	*Line
	target string
}

// ForTCP stands before whatever listens on target, host:port.
func ForTCP(target string) (*TCP, error) {
	line, err := newLine()
	if err != nil {
		return nil, err
	}
	t := &TCP{line, target}
	go t.serve()
	return t, nil
}

func (t *TCP) serve() {
	for {
		client, err := acceptor{t.Line}.Accept()
		if err != nil {
			return
		}
		go t.join(client.(*conn))
	}
}

// join copies both ways until either side ends.
func (t *TCP) join(client *conn) {
	server, err := net.Dial("tcp", t.target)
	if err != nil {
		client.reset()
		return
	}
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	_, err = io.Copy(client, server)
	if err != nil {
		client.reset()
	}
	client.Close()
	server.Close()
}

// Close ends the proxy and resets its connections.
func (t *TCP) Close() { t.Line.close() }
