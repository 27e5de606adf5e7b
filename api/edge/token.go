package edge

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

// Tokens makes and reads access tokens: HS256 JSON Web Tokens. No other algorithm is accepted, whatever a token says.
type Tokens struct{ Secret []byte }

const accessType = "access"

var (
	errExpired   = fault.New(fault.Unauthenticated, "TOKEN_EXPIRED", "Token expired")
	errNotActive = fault.New(fault.Unauthenticated, "TOKEN_NOT_ACTIVE", "Invalid token")
	errBadToken  = fault.New(fault.Unauthenticated, "INVALID_TOKEN", "Invalid token")
	errClaims    = fault.New(fault.Unauthenticated, "MISSING_CLAIMS", "Token missing required claims")
)

type claims struct {
	UserID string `json:"userId,omitempty"`
	Type   string `json:"type"`
	jwt.RegisteredClaims
}

// Mint makes an access token that is good for ttl.
func (t Tokens) Mint(user id.ID, ttl time.Duration, now time.Time) (string, error) {
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		UserID: user.String(), Type: accessType,
		RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl))},
	}).SignedString(t.Secret)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return text, nil
}

// user returns whom a token stands for at now: its claim userId, or else sub, which is the id of a user.
func (t Tokens) user(text string, now time.Time) (id.ID, error) {
	var c claims
	_, err := jwt.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) { return t.Secret, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }))
	switch {
	case err == nil:
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return id.ID{}, errBadToken.Because(err)
	case errors.Is(err, jwt.ErrTokenExpired):
		return id.ID{}, errExpired.Because(err)
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return id.ID{}, errNotActive.Because(err)
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return id.ID{}, errClaims.Because(err)
	default:
		return id.ID{}, errBadToken.Because(err)
	}
	if c.Type != accessType {
		return id.ID{}, errBadToken
	}
	name := c.UserID
	if name == "" {
		name = c.Subject
	}
	user, err := id.Parse(name)
	if err != nil || user.IsZero() {
		return id.ID{}, errClaims
	}
	return user, nil
}
