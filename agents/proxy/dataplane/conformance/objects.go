package conformance

import (
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
	return out, nil
}
