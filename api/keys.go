package api

import (
	"context"

	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/api/gen"
	"github.com/CalloraOrg/callora-backend/app/access"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

// IssueKey serves POST /api/apis/{apiId}/keys.
func (o *operations) IssueKey(ctx context.Context, r gen.IssueKeyRequestObject) (gen.IssueKeyResponseObject, error) {
	in := access.IssueKeyInput{Actor: edge.Actor(ctx), API: r.ApiId}
	if r.Body != nil {
		in.Scopes = orEmpty(r.Body.Scopes)
		if n := r.Body.RateLimitPerMinute; n != nil {
			in.RateLimitPerMinute = new(int(*n))
		}
	}
	issued, err := o.uses.Access.Issue.Do(ctx, in)
	if err != nil {
		return nil, err
	}
	return gen.IssueKey201JSONResponse{Body: issuedKey(issued)}, nil
}

// ListKeys serves GET /api/keys.
func (o *operations) ListKeys(ctx context.Context, r gen.ListKeysRequestObject) (gen.ListKeysResponseObject, error) {
	limit, offset := pageOf(r.Params.Limit, r.Params.Offset, r.Params.Page)
	keys, err := o.uses.Access.List.Do(ctx, access.ListKeysInput{Actor: edge.Actor(ctx), Limit: limit, Offset: offset})
	if err != nil {
		return nil, err
	}
	return gen.ListKeys200JSONResponse{Body: gen.KeyList{Data: list(keys.Items, maskedKey), Meta: metaOf(keys.Total, limit, offset)}}, nil
}

// RotateKey serves POST /api/keys/{id}/rotate.
func (o *operations) RotateKey(ctx context.Context, r gen.RotateKeyRequestObject) (gen.RotateKeyResponseObject, error) {
	rotated, err := o.uses.Access.Rotate.Do(ctx, access.RotateKeyInput{Actor: edge.Actor(ctx), Key: id.ID(r.Id)})
	if err != nil {
		return nil, err
	}
	k := issuedKey(rotated.Issued)
	return gen.RotateKey201JSONResponse{Body: gen.RotatedKey{
		Id: k.Id, ApiId: k.ApiId, Key: k.Key, Prefix: k.Prefix, CreatedAt: k.CreatedAt, Revoked: k.Revoked, Scopes: k.Scopes,
		RateLimitPerMinute: k.RateLimitPerMinute, Previous: gen.PreviousKey{Id: r.Id, ExpiresAt: rotated.OldEndsAt.UTC()},
	}}, nil
}

// RevokeKey serves DELETE /api/keys/{id}.
func (o *operations) RevokeKey(ctx context.Context, r gen.RevokeKeyRequestObject) (gen.RevokeKeyResponseObject, error) {
	if err := o.uses.Access.Revoke.Do(ctx, access.RevokeKeyInput{Actor: edge.Actor(ctx), Key: id.ID(r.Id)}); err != nil {
		return nil, err
	}
	return gen.RevokeKey204Response{}, nil
}

func issuedKey(i access.Issued) gen.IssuedKey {
	k := i.Key
	return gen.IssuedKey{
		Id: gen.Id(k.ID), ApiId: gen.Id(k.APIID), Key: i.Plain, Prefix: k.Prefix, CreatedAt: k.CreatedAt.UTC(),
		Revoked: false, Scopes: k.Scopes, RateLimitPerMinute: orNull(k.RateLimitPerMinute),
	}
}

func maskedKey(k apikey.Key) gen.Key {
	return gen.Key{
		Id: gen.Id(k.ID), ApiId: gen.Id(k.APIID), Prefix: k.Prefix, MaskedKey: k.Masked(), Scopes: k.Scopes,
		RateLimitPerMinute: orNull(k.RateLimitPerMinute), CreatedAt: k.CreatedAt.UTC(), LastUsedAt: timeOrNull(k.LastUsedAt),
		ExpiresAt: timeOrNull(k.ExpiresAt), Revoked: !k.RevokedAt.IsZero(), RevokedAt: timeOrNull(k.RevokedAt), ReplacedBy: idOrNull(k.ReplacedBy),
	}
}
