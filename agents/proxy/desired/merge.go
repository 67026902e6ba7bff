package desired

import (
	"fmt"
	"slices"
	"strings"

	"karve.dev/karve/agents/proxy/dataplane"
)

// Merge puts the virtual servers of all Services together. Where two ask for the same frontend the one whose name
// comes first keeps it, so that every node decides alike; the other loses it and gets an error.
func Merge(services map[dataplane.ServiceKey][]dataplane.VirtualServer) ([]dataplane.VirtualServer, map[dataplane.ServiceKey]error) {
	total := 0
	for _, servers := range services {
		total += len(servers)
	}
	out := make([]dataplane.VirtualServer, 0, total)
	for _, servers := range services {
		out = append(out, servers...)
	}
	type claim struct {
		frontend dataplane.Frontend
		protocol dataplane.Protocol
		ipv6     bool
	}
	owners := make(map[claim]int, 2*total)
	var conflicts map[dataplane.ServiceKey]error
	for i := range out {
		for _, f := range out[i].Frontends {
			c := claim{dataplane.Frontend{Addr: f.Addr, Port: f.Port}, out[i].Protocol, out[i].IPv6}
			other, taken := owners[c]
			if !taken {
				owners[c] = i
				continue
			}
			winner, loser := other, i
			if strings.Compare(out[i].Name, out[other].Name) < 0 {
				winner, loser = i, other
			}
			owners[c] = winner
			if conflicts == nil {
				conflicts = map[dataplane.ServiceKey]error{}
			}
			conflicts[out[loser].Service] = fmt.Errorf("%s is taken by %s", address(f), out[winner].Name)
			out[loser].Frontends = slices.DeleteFunc(slices.Clone(out[loser].Frontends), func(g dataplane.Frontend) bool {
				return g.Addr == f.Addr && g.Port == f.Port
			})
		}
	}
	return out, conflicts
}

func address(f dataplane.Frontend) string {
	if f.Kind == dataplane.NodePort {
		return fmt.Sprintf("node port %d", f.Port)
	}
	return fmt.Sprintf("%s port %d", f.Addr, f.Port)
}
