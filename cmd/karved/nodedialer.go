package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"

	"karve.dev/karve/internal/transport"
)

// nodeDialer keeps a connection to the agent of each node that was asked for. Agents prove with their certificate that
// they are the node: its name is what the certificate is checked for.
type nodeDialer struct {
	tls *tls.Config

	mu    sync.Mutex
	conns map[string]dialed // by node name
}

// dialTimeout bounds a connection that is made for one caller.
const dialTimeout = 10 * time.Second

type dialed struct {
	addr string
	conn *grpc.ClientConn
}

func newNodeDialer(config *tls.Config) *nodeDialer {
	return &nodeDialer{tls: config, conns: map[string]dialed{}}
}

// DialNode implements server.NodeDialer.
func (d *nodeDialer) DialNode(_ context.Context, node *corev1.Node) (grpc.ClientConnInterface, error) {
	addr, err := agentAddr(node)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	known, ok := d.conns[node.Name]
	if ok && known.addr == addr {
		return known.conn, nil
	}
	if ok {
		_ = known.conn.Close() // the agent has moved
	}
	config := d.tls.Clone()
	config.ServerName = node.Name
	conn, err := transport.Dial(addr, config)
	if err != nil {
		return nil, err
	}
	d.conns[node.Name] = dialed{addr, conn}
	return conn, nil
}

// DialHTTPS implements tunnel.Agents.
func (d *nodeDialer) DialHTTPS(ctx context.Context, node *corev1.Node) (net.Conn, error) {
	addr, err := agentAddr(node)
	if err != nil {
		return nil, err
	}
	config := d.tls.Clone()
	config.ServerName, config.NextProtos = node.Name, []string{"http/1.1"}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
}

func (d *nodeDialer) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, c := range d.conns {
		errs = append(errs, c.conn.Close())
	}
	clear(d.conns)
	return errors.Join(errs...)
}

// agentAddr is where a node says that its agent listens.
func agentAddr(node *corev1.Node) (string, error) {
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && port != 0 {
			return net.JoinHostPort(a.Address, strconv.Itoa(int(port))), nil
		}
	}
	return "", fmt.Errorf("node %s has not said yet where its agent listens", node.Name)
}
