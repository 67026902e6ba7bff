package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// socketBytes is the size of a netlink socket's buffers: the kernel answers every message of a batch before the
// first answer is read, so a batch must fit in.
const socketBytes = 8 << 20

// netlinkTimeout bounds one exchange with the kernel.
const netlinkTimeout = 20 * time.Second

// dial returns a connection for one exchange. Sockets are not kept: after an error unread answers would be taken
// for those of the next batch.
func dial(ctx context.Context) (*nftables.Conn, error) {
	deadline := time.Now().Add(netlinkTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	conn, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(socketBytes), c.SetWriteBuffer(socketBytes), c.SetDeadline(deadline))
	}))
	if err != nil {
		return nil, fmt.Errorf("open netfilter netlink: %w", err)
	}
	return conn, nil
}

// kernel is what the table holds, as far as Apply writes it.
type kernel struct {
	elements map[element]string
	chains   map[string]bool // of services
	layout   string          // the mark of the base chains
	usable   bool            // the table exists in this format
	exists   bool            // a table of this name exists
}

// readKernel reads the table back. Shapes of chains are read as elements.
func readKernel(ctx context.Context, table *nftables.Table, format string) (*kernel, error) {
	k := &kernel{elements: map[element]string{}, chains: map[string]bool{}}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if k.exists, err = tableExists(conn, table.Name); err != nil || !k.exists {
		return k, err
	}
	if err := k.readChains(conn, table, format); err != nil || !k.usable {
		return k, err
	}
	for _, f := range families {
		for _, set := range f.sets(table) {
			if err := k.readSet(conn, set, verdictSets[strings.TrimSuffix(set.Name, f.suffix)]); err != nil {
				return nil, err
			}
		}
	}
	return k, nil
}

func tableExists(conn *nftables.Conn, name string) (bool, error) {
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	for _, t := range tables {
		if t.Name == name {
			return true, nil
		}
	}
	return false, nil
}

func (k *kernel) readChains(conn *nftables.Conn, table *nftables.Table, format string) error {
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, c := range chains {
		switch {
		case c.Table.Name != table.Name:
		case c.Name == format:
			k.usable = true
		case strings.HasPrefix(c.Name, "layout-"):
			k.layout = c.Name
		case isServiceChain(c.Name):
			k.chains[c.Name] = true
		}
	}
	return nil
}

func (k *kernel) readSet(conn *nftables.Conn, set *nftables.Set, verdicts bool) error {
	elements, err := conn.GetSetElements(set)
	if err != nil {
		return fmt.Errorf("read set %s: %w", set.Name, err)
	}
	for _, e := range elements {
		value := string(e.Val)
		if verdicts {
			if value, err = parseVerdict(e.Val); err != nil {
				return fmt.Errorf("read set %s: %w", set.Name, err)
			}
		}
		k.elements[element{set.Name, string(e.Key)}] = value
	}
	return nil
}

// parseVerdict reads the value of a verdict map.
func parseVerdict(data []byte) (string, error) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return "", err
	}
	ad.ByteOrder = binary.BigEndian
	value := valueDrop
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			if int32(ad.Uint32()) == int32(expr.VerdictAccept) {
				value = valueAccept
			}
		case unix.NFTA_VERDICT_CHAIN:
			value = valueGoto + ad.String()
		}
	}
	return value, ad.Err()
}

// setElement is the form in which an element is written.
func setElement(e element, value string, verdicts bool) nftables.SetElement {
	out := nftables.SetElement{Key: []byte(e.key)}
	chain, isGoto := strings.CutPrefix(value, valueGoto)
	switch {
	case !verdicts:
		out.Val = []byte(value)
	case isGoto:
		out.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}
	case value == valueAccept:
		out.VerdictData = &expr.Verdict{Kind: expr.VerdictAccept}
	default:
		out.VerdictData = &expr.Verdict{Kind: expr.VerdictDrop}
	}
	return out
}

// isServiceChain tells chains of Services and endpoints from base chains.
func isServiceChain(name string) bool {
	for _, f := range families {
		if strings.HasPrefix(name, chainPrefix+f.suffix+"-") || strings.HasPrefix(name, endpointPrefix+f.suffix+"-") {
			return true
		}
	}
	return false
}
