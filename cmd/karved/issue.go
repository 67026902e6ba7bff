package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity"
)

// credentialName is the name of the files that karved issue makes: tls.crt and tls.key.
const credentialName = "tls"

func issueCommand() *cobra.Command {
	var dataDir, out string
	cmd := &cobra.Command{
		Use:   "issue ROLE",
		Short: "Make the credentials of a part that runs as its own process",
		Long: `Make the credentials of a part that runs as its own process: ca.crt, tls.crt and tls.key (0600) in a directory.
ROLE is gateway, scheduler, replication, nodehealth, network, storage, lifecycle, or node:NAME for both agents of a node.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := absolute(cluster.Dir(dataDir))
			if err != nil {
				return err
			}
			settings, known, err := dir.Load()
			if err != nil {
				return err
			}
			if !known {
				return fmt.Errorf("there is no cluster in %s", dir)
			}
			spec, err := specOf(args[0], settings)
			if err != nil {
				return err
			}
			keys, err := identity.LoadOrCreate(string(dir), identityOptions(settings))
			if err != nil {
				return err
			}
			return keys.WriteCredentials(out, credentialName, spec)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", string(cluster.DirOf(cluster.DefaultName)), "where the cluster keeps its data")
	cmd.Flags().StringVar(&out, "out", "", "where to put the files (required)")
	_ = cmd.MarkFlagRequired("out")
	return cmd
}

// specOf is what a role's certificate says.
func specOf(name string, settings cluster.Settings) (identity.Spec, error) {
	if node, ok := strings.CutPrefix(name, "node:"); ok {
		return agentSpec(node), nil
	}
	if name == "gateway" {
		spec := serverNames(gatewayUser.Name, settings)
		spec.Both = true
		return spec, nil
	}
	for _, s := range services {
		if s.role == name {
			return identity.Spec{
				CommonName: s.user.Name, Organizations: s.user.Groups, Both: true,
				DNSNames: []string{"localhost", s.role}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
			}, nil
		}
	}
	return identity.Spec{}, fmt.Errorf("there is no role %q: see karved issue --help", name)
}
