package etcdstore

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"karve.dev/karve/services/api/store"
)

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) (int64, error) {
	if err := store.CheckOps(ops); err != nil {
		return 0, err
	}
	var compares []clientv3.Cmp
	var then, otherwise []clientv3.Op
	for _, op := range ops {
		if op.Value != nil {
			then = append(then, clientv3.OpPut(op.Key, string(op.Value)))
		} else {
			then = append(then, clientv3.OpDelete(op.Key))
		}
		if op.Expected < 0 {
			continue
		}
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(op.Key), "=", op.Expected))
		otherwise = append(otherwise, clientv3.OpGet(op.Key, clientv3.WithKeysOnly()))
	}
	resp, err := s.client.Txn(ctx).If(compares...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return 0, fmt.Errorf("commit %s: %w", ops[0].Key, translate(err))
	}
	if resp.Succeeded {
		return resp.Header.Revision, nil
	}
	return 0, failedOp(ops, resp)
}

// failedOp finds the first expectation that does not hold in the answers to a transaction's else branch.
func failedOp(ops []store.Op, resp *clientv3.TxnResponse) error {
	answers := resp.Responses
	for i, op := range ops {
		if op.Expected < 0 {
			continue
		}
		var found int64
		if kvs := answers[0].GetResponseRange().Kvs; len(kvs) > 0 {
			found = kvs[0].ModRevision
		}
		answers = answers[1:]
		if err := store.CheckExpected(op.Expected, found); err != nil {
			return &store.FailedOpError{Index: i, Key: op.Key, Err: err}
		}
	}
	return fmt.Errorf("commit %s: etcd refused the transaction without a reason", ops[0].Key)
}

// translations are etcd's errors as the store's.
var translations = []struct{ etcd, store error }{
	{rpctypes.ErrCompacted, store.ErrCompacted},
	{rpctypes.ErrFutureRev, store.ErrFuture},
	{rpctypes.ErrRequestTooLarge, store.ErrTooLarge},
	{rpctypes.ErrNoSpace, store.ErrFull},
}

func translate(err error) error {
	for _, t := range translations {
		if errors.Is(err, t.etcd) {
			return t.store
		}
	}
	return err
}
