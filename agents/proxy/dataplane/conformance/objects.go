package conformance

import (
	"os"
	"os/exec"
	"strings"
)

// Objects lists tables, interfaces and firewall rules of any Karve's in this namespace, by what is installed to list
// them with.
func Objects() ([]string, error) {
	var out []string
	for _, command := range []string{"nft list tables", "ip -o link", "iptables -S"} {
		args := strings.Fields(command)
		if _, err := exec.LookPath(args[0]); err != nil {
			continue
		}
		text, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "karve") || strings.Contains(line, "kvs") {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	ipvs, err := os.ReadFile("/proc/net/ip_vs")
	if err != nil {
		return out, nil
	}
	for line := range strings.Lines(string(ipvs)) {
		if f := strings.Fields(line); len(f) > 0 && (f[0] == "TCP" || f[0] == "UDP" || f[0] == "->" && !strings.Contains(line, "RemoteAddress")) {
			out = append(out, "ipvs "+strings.TrimSpace(line))
		}
	}
	return out, nil
}
