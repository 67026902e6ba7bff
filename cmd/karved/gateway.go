package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"karve.dev/karve/internal/process"
	"karve.dev/karve/internal/version"
	"karve.dev/karve/services/gateway"
)

// gatewayComponent serves the REST API on listeners; recorded says that the API service records calls. Ready is called when it knows what there is to serve.
func gatewayComponent(conn grpc.ClientConnInterface, config *tls.Config, recorded bool, metrics prometheus.Registerer, log *zap.Logger, ready func(), listeners ...net.Listener) (process.Component, error) {
	g, err := gateway.New(gateway.Config{API: conn, TLS: config, Audit: recorded, Version: version.Info(), Metrics: metrics, Logger: log.Named("gateway")})
	if err != nil {
		return process.Component{}, err
	}
	return process.Component{
		Name: "gateway", Background: true,
		Run: func(ctx context.Context) error { return g.Serve(ctx, listeners...) },
		WaitReady: func(ctx context.Context) error {
			if err := g.WaitReady(ctx); err != nil {
				return err
			}
			ready()
			return nil
		},
	}, nil
}

func (d *daemon) wireGateway() error {
	listeners, err := d.listen(d.settings.Listen)
	if err != nil {
		return fmt.Errorf("listen for the REST API: %w", err)
	}
	c, err := gatewayComponent(d.server.Conn(gatewayUser), d.identity.ServerTLS(serverNames("karve-gateway", d.settings)), d.settings.Access.Recorded(), d.metrics, d.log,
		func() { d.step("REST API") }, listeners...)
	if err != nil {
		return err
	}
	d.group.Add(c)
	return nil
}
