package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"karve.dev/karve/internal/cluster"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/process"
	"karve.dev/karve/internal/transport"
)

// apiCommand runs the API service with its etcd as its own process. It alone holds the cluster's keys.
func apiCommand() *cobra.Command {
	var dataDir string
	var logs logOptions
	var access *cluster.AccessFlags
	cmd := &cobra.Command{
		Use: "api", Short: "Serve the API over gRPC, with its embedded etcd", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := logs.logger()
			if err != nil {
				return err
			}
			defer log.Sync() //nolint:errcheck // stderr cannot be synced everywhere
			return runAPI(cmd.Context(), cluster.Dir(dataDir), access, log)
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", string(cluster.DirOf(cluster.DefaultName)), "where the cluster keeps its data, with its settings in cluster.json")
	logs.flags(cmd)
	access = cluster.NewAccessFlags(cmd.Flags())
	return cmd
}

func runAPI(ctx context.Context, dir cluster.Dir, access *cluster.AccessFlags, log *zap.Logger) (err error) {
	if dir, err = absolute(dir); err != nil {
		return err
	}
	settings, known, err := dir.Load()
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%s is missing", dir.SettingsFile())
	}
	if err := access.Apply(&settings.Access); err != nil {
		return err
	}
	release, err := lock(dir)
	if err != nil {
		return err
	}
	defer release()
	if err := cluster.Claim(settings.Name, dir); err != nil {
		return err
	}
	keys, err := identity.LoadOrCreate(string(dir), identityOptions(settings))
	if err != nil {
		return err
	}
	if err := writeKubeconfig(dir, settings, keys); err != nil {
		return err
	}
	store, err := openStore(ctx, dir, settings, log)
	if err != nil {
		return err
	}
	nodes := newNodeDialer(keys.ClientTLS(apiUser))
	defer func() { err = errors.Join(err, nodes.close(), store.Close()) }()
	metrics, health := prometheus.NewRegistry(), process.NewHealth()
	service, err := newAPI(dir, settings, keys, store, nodes, metrics, log)
	if err != nil {
		return err
	}
	server := transport.NewServer(service.Interceptors())
	service.Register(server)
	lis, err := net.Listen("tcp", settings.GRPCListen)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	group := process.NewGroup(health, log)
	addStore(group, store)
	group.Add(apiComponent(service, func() { log.Info("the API answers", zap.String("at", settings.GRPCListen)) }))
	group.Add(grpcComponent(server, keys.ServerTLS(serverNames("karve-api", settings)), lis))
	controllers := &member{conn: server.Conn(controllersUser), group: group, log: log}
	controllers.informers = informer.NewSet(controllers.client("karve-informers"), log.Named("informers"))
	controllers.addSigner(keys)
	controllers.addInformers()
	group.Add(debugComponent(dir.Socket(), health, metrics))
	group.Add(memoryComponent())
	return group.Run(ctx)
}
