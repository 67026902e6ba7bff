package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// dial returns a client of an external cluster; the connection is made in the background.
func dial(ctx context.Context, cfg Config) (*clientv3.Client, error) {
	if cfg.TLS == nil {
		return nil, errors.New("etcdstore: an external etcd is reached with TLS only")
	}
	for _, endpoint := range cfg.Endpoints {
		if strings.HasPrefix(endpoint, "http:") {
			return nil, fmt.Errorf("etcdstore: endpoint %s is in the clear", endpoint)
		}
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, TLS: cfg.TLS, Logger: etcdLogger(cfg.Log),
		DialTimeout: 5 * time.Second, DialKeepAliveTime: 30 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd: %w", err)
	}
	return client, nil
}
