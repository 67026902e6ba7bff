package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/authentication/cel"

	"karve.dev/karve/internal/identity"
)

// claims are a verified token's claims, whole numbers as int64.
type claims map[string]any

func (c claims) text(name string) (string, error) {
	value, ok := c[name]
	if !ok {
		return "", fmt.Errorf("claim %q is missing", name)
	}
	s, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("claim %q is not a string", name)
	}
	return s, nil
}

// texts reads a claim that may be one string or many; one that is missing is none.
func (c claims) texts(name string) ([]string, error) {
	value, ok := c[name]
	if !ok {
		return nil, nil
	}
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		out := make([]string, len(v))
		for i, one := range v {
			if out[i], ok = one.(string); !ok {
				return nil, fmt.Errorf("claim %q holds something other than strings", name)
			}
		}
		return out, nil
	}
	return nil, fmt.Errorf("claim %q is neither a string nor a list of strings", name)
}

// user maps a token's claims to whom they stand for, after the rules of the settings.
func (i *issuer) user(ctx context.Context, raw json.RawMessage) (identity.User, error) {
	c := claims{}
	if err := utiljson.Unmarshal(raw, (*map[string]any)(&c)); err != nil {
		return identity.User{}, fmt.Errorf("read the token's claims: %w", err)
	}
	value := types.DefaultTypeAdapter.NativeToValue(map[string]any(c)).(traits.Mapper)
	if err := i.checkClaims(ctx, c, value); err != nil {
		return identity.User{}, err
	}
	var u identity.User
	var err error
	if u.Name, err = i.username(ctx, c, value); err != nil {
		return u, fmt.Errorf("username: %w", err)
	}
	if u.Groups, err = i.groups(ctx, c, value); err != nil {
		return u, fmt.Errorf("groups: %w", err)
	}
	if u.UID, err = i.uid(ctx, c, value); err != nil {
		return u, fmt.Errorf("uid: %w", err)
	}
	if u.Extra, err = i.extra(ctx, c, value); err != nil {
		return u, fmt.Errorf("extra: %w", err)
	}
	return u, i.checkUser(ctx, u)
}

// checkClaims applies the rules about claims.
func (i *issuer) checkClaims(ctx context.Context, c claims, value traits.Mapper) error {
	for _, rule := range i.settings.ClaimValidationRules {
		if rule.Claim == "" {
			continue
		}
		got, err := c.text(rule.Claim)
		if err != nil {
			return err
		}
		if got != rule.RequiredValue {
			return fmt.Errorf("required claim %s value does not match: got %q, want %q", rule.Claim, got, rule.RequiredValue)
		}
	}
	if i.mapper.ClaimValidationRules == nil {
		return nil
	}
	results, err := i.mapper.ClaimValidationRules.EvalClaimMappings(ctx, value)
	if err != nil {
		return fmt.Errorf("evaluate the claim validation rules: %w", err)
	}
	return allTrue(results)
}

func allTrue(results []cel.EvaluationResult) error {
	for _, r := range results {
		if r.EvalResult == types.True {
			continue
		}
		message := ""
		switch rule := r.ExpressionAccessor.(type) {
		case *cel.ClaimValidationCondition:
			message = rule.Message
		case *cel.UserValidationCondition:
			message = rule.Message
		}
		if message == "" {
			message = "it is false"
		}
		return fmt.Errorf("validation expression %q failed: %s", r.ExpressionAccessor.GetExpression(), message)
	}
	return nil
}

func (i *issuer) username(ctx context.Context, c claims, value traits.Mapper) (string, error) {
	name, prefix := "", ""
	from := i.settings.ClaimMappings.Username
	if i.mapper.Username != nil {
		out, err := one(ctx, i.mapper.Username, value)
		if err != nil {
			return "", err
		}
		text, ok := out.Value().(string)
		if !ok {
			return "", errors.New("the expression must yield a string")
		}
		name = text
	} else {
		var err error
		if name, err = c.text(from.Claim); err != nil {
			return "", err
		}
		// An address that the issuer has not verified could be anybody's.
		if verified, told := c["email_verified"]; from.Claim == "email" && told && verified != true {
			return "", errors.New("email not verified")
		}
		if from.Prefix != nil {
			prefix = *from.Prefix
		}
	}
	if name == "" {
		return "", errors.New("it is empty")
	}
	return prefix + name, nil
}

func (i *issuer) groups(ctx context.Context, c claims, value traits.Mapper) ([]string, error) {
	from := i.settings.ClaimMappings.Groups
	if i.mapper.Groups != nil {
		out, err := one(ctx, i.mapper.Groups, value)
		if err != nil {
			return nil, err
		}
		return textsOf(out)
	}
	if from.Claim == "" {
		return nil, nil
	}
	groups, err := c.texts(from.Claim)
	if err != nil || from.Prefix == nil {
		return groups, err
	}
	for i := range groups {
		groups[i] = *from.Prefix + groups[i]
	}
	return groups, nil
}

func (i *issuer) uid(ctx context.Context, c claims, value traits.Mapper) (string, error) {
	if claim := i.settings.ClaimMappings.UID.Claim; claim != "" {
		return c.text(claim)
	}
	if i.mapper.UID == nil {
		return "", nil
	}
	out, err := one(ctx, i.mapper.UID, value)
	if err != nil {
		return "", err
	}
	text, ok := out.Value().(string)
	if !ok {
		return "", errors.New("the expression must yield a string")
	}
	return text, nil
}

// extra maps the settings' own fields and adds the token's identifier, by which records can be told apart.
func (i *issuer) extra(ctx context.Context, c claims, value traits.Mapper) (map[string][]string, error) {
	out := map[string][]string{}
	if id, err := c.text("jti"); err == nil && id != "" {
		out[identity.ExtraCredentialID] = []string{"JTI=" + id}
	}
	if i.mapper.Extra == nil {
		return out, nil
	}
	results, err := i.mapper.Extra.EvalClaimMappings(ctx, value)
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		mapping, ok := r.ExpressionAccessor.(*cel.ExtraMappingExpression)
		if !ok {
			continue
		}
		values, err := textsOf(r.EvalResult)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", mapping.Key, err)
		}
		if len(values) > 0 {
			out[mapping.Key] = values
		}
	}
	return out, nil
}

// checkUser applies the rules about the user that came out.
func (i *issuer) checkUser(ctx context.Context, u identity.User) error {
	if i.mapper.UserValidationRules == nil {
		return nil
	}
	value := types.DefaultTypeAdapter.NativeToValue(map[string]any{"username": u.Name, "uid": u.UID, "groups": u.Groups, "extra": u.Extra}).(traits.Mapper)
	results, err := i.mapper.UserValidationRules.EvalUser(ctx, value)
	if err != nil {
		return fmt.Errorf("evaluate the user validation rules: %w", err)
	}
	return allTrue(results)
}

func one(ctx context.Context, mapper cel.ClaimsMapper, value traits.Mapper) (ref.Val, error) {
	out, err := mapper.EvalClaimMapping(ctx, value)
	if err != nil {
		return nil, err
	}
	return out.EvalResult, nil
}

// textsOf reads what an expression yields as strings: nothing, one (empty: nothing) or many.
func textsOf(value ref.Val) ([]string, error) {
	if value.Type() == types.NullType {
		return nil, nil
	}
	if text, ok := value.Value().(string); ok {
		if text == "" {
			return nil, nil
		}
		return []string{text}, nil
	}
	list, ok := value.(traits.Lister)
	if !ok {
		return nil, errors.New("the expression must yield a string or a list of strings")
	}
	var out []string
	for it := list.Iterator(); it.HasNext() == types.True; {
		text, ok := it.Next().Value().(string)
		if !ok {
			return nil, errors.New("the expression must yield a string or a list of strings")
		}
		if text != "" {
			out = append(out, text)
		}
	}
	return out, nil
}
