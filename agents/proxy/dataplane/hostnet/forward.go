package hostnet

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Docker sets the policy of iptables' FORWARD chain to DROP, and no other table can overrule a drop: leave to pass
// must stand in that very chain. It is given to connections that were translated (a Service's) and have a pod at one
// end. Without the iptables program there is no Docker rule to make up for.

func comment(id dataplane.Identity) string { return "karve services of " + id.Cluster }

// forwardRules are the arguments of the rules after "-A FORWARD".
func forwardRules(id dataplane.Identity, pods []netip.Prefix) [][]string {
	var out [][]string
	for _, p := range pods {
		if p.Addr().Is6() {
			continue
		}
		for _, end := range []string{"-s", "-d"} {
			out = append(out, []string{end, p.Masked().String(), "-m", "conntrack", "--ctstate", "DNAT", "-m", "comment", "--comment", comment(id), "-j", "ACCEPT"})
		}
	}
	return out
}

func iptables(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "iptables", append([]string{"-w", "5"}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("iptables %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

func allowForwarding(ctx context.Context, id dataplane.Identity, pods []netip.Prefix) error {
	if _, err := exec.LookPath("iptables"); err != nil {
		return nil
	}
	have, err := iptables(ctx, "-S", "FORWARD")
	if err != nil {
		return err
	}
	for _, rule := range forwardRules(id, pods) {
		if listed(have, rule, id) {
			continue
		}
		if _, err := iptables(ctx, append([]string{"-I", "FORWARD", "1"}, rule...)...); err != nil {
			return err
		}
	}
	return nil
}

func listed(rules string, rule []string, id dataplane.Identity) bool {
	for _, line := range strings.Split(rules, "\n") {
		if strings.Contains(line, fmt.Sprintf("%q", comment(id))) && strings.Contains(line, rule[0]+" "+rule[1]+" ") {
			return true
		}
	}
	return false
}

func forbidForwarding(ctx context.Context, id dataplane.Identity) error {
	if _, err := exec.LookPath("iptables"); err != nil {
		return nil
	}
	have, err := iptables(ctx, "-S", "FORWARD")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(have, "\n") {
		if !strings.Contains(line, fmt.Sprintf("--comment %q ", comment(id))) {
			continue
		}
		args := strings.Fields(strings.ReplaceAll(strings.Replace(line, "-A ", "-D ", 1), fmt.Sprintf("%q", comment(id)), "KARVE-COMMENT"))
		for i := range args {
			if args[i] == "KARVE-COMMENT" {
				args[i] = comment(id)
			}
		}
		if _, err := iptables(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
