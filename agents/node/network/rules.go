package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// allowForwarding lets packets of pods pass the machine. Two places: the engine sets the policy of iptables' FORWARD
// chain to DROP, which no other table can overrule, so accepting rules go there (through the same iptables that the
// engine uses); masquerading is in a table of our own, which is replaced as a whole, in one transaction.
func (n *Network) allowForwarding(ctx context.Context, cidr netip.Prefix) error {
	if err := n.masquerade(cidr); err != nil {
		return err
	}
	return n.acceptForwarding(ctx)
}

// table is the node's own nftables table.
func (n *Network) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyIPv4, Name: "karve-pods-" + n.tableSuffix()}
}

// tableSuffix is the end of the names of the node's tables.
func (n *Network) tableSuffix() string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, n.cfg.Cluster+"-"+n.cfg.Node)
	return clean + "-" + digest(n.cfg.Cluster, n.cfg.Node)[:6]
}

func (n *Network) masquerade(cidr netip.Prefix) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	// Adding before deleting makes the deletion valid whether or not the table was there.
	conn.AddTable(n.table())
	conn.DelTable(n.table())
	table := conn.AddTable(n.table())
	chain := conn.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	local := append([]netip.Prefix{cidr, netip.MustParsePrefix("224.0.0.0/4")}, n.cfg.ClusterCIDRs...)
	for _, keep := range local {
		if !keep.Addr().Is4() {
			continue
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: join(
			inPrefix(12, cidr), inPrefix(16, keep), []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}},
		)})
	}
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: join(
		inPrefix(12, cidr), notOut(n.bridge), []expr.Any{&expr.Counter{}, &expr.Masq{}},
	)})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nftables rules: %w", err)
	}
	return nil
}

func join(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// inPrefix matches when the address at offset in the IPv4 header (12 source, 16 destination) lies in prefix.
func inPrefix(offset uint32, prefix netip.Prefix) []expr.Any {
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - prefix.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: prefix.Masked().Addr().AsSlice()},
	}
}

func notOut(device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
	}
}

// acceptForwarding adds the rules that are missing in FORWARD. Without iptables on the machine nothing has set the
// policy to DROP either.
func (n *Network) acceptForwarding(ctx context.Context) error {
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		return nil
	}
	have, err := n.forwardRules(ctx)
	if err != nil {
		return err
	}
	var add []string
	for _, direction := range []string{"-i", "-o"} {
		if !containsDirection(have, direction+" "+n.bridge) {
			add = append(add, fmt.Sprintf("-I FORWARD 1 %s %s -m comment --comment %q -j ACCEPT", direction, n.bridge, alias(n.cfg.Cluster, n.cfg.Node)))
		}
	}
	return restore(ctx, add)
}

// forwardRules returns the rules of FORWARD that are this node's.
func (n *Network) forwardRules(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "iptables", "-w", "10", "-S", "FORWARD").Output()
	if err != nil {
		return nil, fmt.Errorf("read iptables rules: %w", commandError(err))
	}
	var mine []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, " "+n.bridge+" ") {
			mine = append(mine, strings.TrimSpace(line))
		}
	}
	return mine, nil
}

func containsDirection(rules []string, part string) bool {
	for _, r := range rules {
		if strings.Contains(r, part) {
			return true
		}
	}
	return false
}

func restore(ctx context.Context, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, "iptables-restore", "-w", "10", "--noflush")
	cmd.Stdin = strings.NewReader("*filter\n" + strings.Join(lines, "\n") + "\nCOMMIT\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("change iptables rules: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

func commandError(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err
}

func (n *Network) removeRules(ctx context.Context) error {
	var errs []error
	if conn, err := nftables.New(); err == nil {
		for _, table := range []*nftables.Table{n.table(), n.portTable()} {
			conn.AddTable(table)
			conn.DelTable(table)
		}
		errs = append(errs, conn.Flush())
	}
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		return errors.Join(errs...)
	}
	rules, err := n.forwardRules(ctx)
	errs = append(errs, err)
	for i, r := range rules {
		rules[i] = "-D" + strings.TrimPrefix(r, "-A")
	}
	return errors.Join(append(errs, restore(ctx, rules))...)
}
