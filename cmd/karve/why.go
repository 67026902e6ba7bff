package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	grpcstatus "google.golang.org/grpc/status"
	"k8s.io/client-go/tools/clientcmd"

	schedulerv1 "karve.dev/karve/gen/go/karve/scheduler/v1"
	"karve.dev/karve/internal/cluster"
)

func whyCommand() *cobra.Command {
	t, namespace := &target{}, ""
	cmd := &cobra.Command{
		Use:     "why POD",
		Short:   "Say why a pod is where it is, or why no node takes it",
		Args:    cobra.ExactArgs(1),
		Example: "  karve why my-app-7d9c5b6f4-x2x9z\n  karve why -n shop pod/cart-0",
		RunE: func(cmd *cobra.Command, args []string) error {
			return why(cmd.Context(), *t, namespace, strings.TrimPrefix(args[0], "pod/"))
		},
	}
	t.flags(cmd)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "the pod's namespace")
	return cmd
}

func why(ctx context.Context, t target, namespace, pod string) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	conn, err := t.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	answer, err := schedulerv1.NewSchedulerServiceClient(conn).Explain(ctx, &schedulerv1.ExplainRequest{Namespace: namespace, Name: pod})
	if err != nil {
		return fmt.Errorf("%s (asked cluster %q; --name asks another)", grpcstatus.Convert(err).Message(), t.name)
	}
	fmt.Println(answer.GetSummary())
	for _, n := range answer.GetNodes() {
		if len(n.GetReasons()) == 0 {
			fmt.Printf("  %s: fits, score %d\n", n.GetNode(), n.GetScore())
			continue
		}
		for _, r := range n.GetReasons() {
			fmt.Printf("  %s: %s", n.GetNode(), r.GetMessage())
			if r.GetCounterfactual() != "" {
				fmt.Printf(" (%s)", r.GetCounterfactual())
			}
			fmt.Println()
		}
	}
	return nil
}

// adminTLS takes the administrator's certificate out of the cluster's kubeconfig.
func adminTLS(dir cluster.Dir) (*tls.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", dir.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read the cluster's kubeconfig: %w", err)
	}
	cert, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		return nil, fmt.Errorf("read the administrator's certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(config.CAData) {
		return nil, errors.New("read the cluster's CA: the kubeconfig holds none")
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, RootCAs: pool}, nil
}
