"""The mask decoder: the twin of `sam2.modeling.sam.mask_decoder.MaskDecoder`, whose image tokens are never projected.

A head compares a token of the prompt with all tokens of the image, and these with it. Either way one side is a handful
of tokens: what the other side's projection would do to thousands is done to them instead,

    query . (W_key x) = (W_key^T query) . x,    sum of weights (W_value x) = W_value (sum of weights x),

so that each head's query is as wide as the image's tokens, and a layer costs half the products and none of the maps
that projections would be written to. Biases that shift all scores of a softmax alike are left out.

Shapes: O objects, T tokens of prompts and outputs, N = h * w tokens of the image, H heads, C channels (c of a head).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import Attention, TwoWayAttentionBlock
from torch import nn

PIECE = 512  # tokens of the image, whose maps stay in the cache
Fine = tuple[torch.Tensor, torch.Tensor]
Masks = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


class EagerMaskDecoder(nn.Module):
    """The eager twin: `sam2`'s own module behind the same calls."""

    def __init__(self, eager: MaskDecoder, position: torch.Tensor) -> None:
        """Args: eager: the module. position: (1, C, h, w), the image tokens' encoding."""
        super().__init__()
        self._eager, self._position = eager, position

    def fine(self, finest: torch.Tensor, finer: torch.Tensor) -> Fine:
        """What finer levels tell of a frame, for all its objects.

        Args:
            finest: (1, C, 4h, 4w), or fewer channels where the encoder's last convolution is joined with the decoder's.
            finer: (1, C, 2h, 2w), likewise.

        Returns:
            As `forward` takes it.
        """
        return self._eager.conv_s0(finest), self._eager.conv_s1(finer)

    def forward(
        self, image: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor, fine: Fine, *, several: bool
    ) -> Masks:
        """Decodes masks of O objects.

        Args:
            image: (O, C, h, w), the frame in the light of what the objects remember.
            sparse: (O, P, C), prompts that are points.
            dense: (O, C, h, w), prompts that are masks.
            fine: from `fine`.
            several: for each object the masks that compete; else one.

        Returns:
            logits (O, M, 4h, 4w), qualities (O, M), output tokens (O, M or 1, C) and scores of presence (O, 1).
        """
        return cast(
            Masks,
            self._eager(
                image_embeddings=image,
                image_pe=self._position,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=several,
                repeat_image=False,
                high_res_features=list(fine),
            ),
        )


class SteadyMaskDecoder(nn.Module):
    """Stands in for `sam2`'s module on a CPU, with its weights."""

    def __init__(self, eager: MaskDecoder, position: torch.Tensor) -> None:
        """See `EagerMaskDecoder`."""
        super().__init__()
        assert eager.pred_obj_scores
        assert eager.use_high_res_features
        self._eager = eager
        self._position = position.flatten(2)[0].mT.contiguous()
        self._image, self._placed = torch.empty_like(self._position), torch.empty_like(self._position)
        outputs = (eager.obj_score_token, eager.iou_token, eager.mask_tokens)
        self._start = torch.cat([embedding.weight.detach() for embedding in outputs])
        transformer = eager.transformer
        self._layers = nn.ModuleList(_Layer(layer) for layer in transformer.layers)
        self._last, self._norm = _ToImage(transformer.final_attn_token_to_image), transformer.norm_final_attn
        self._enlarge = _Enlarge(eager.output_upscaling)

    def fine(self, finest: torch.Tensor, finer: torch.Tensor) -> Fine:
        """See `EagerMaskDecoder.fine`."""
        return self._enlarge.fine(self._eager.conv_s0(finest), self._eager.conv_s1(finer))

    def forward(
        self, image: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor, fine: Fine, *, several: bool
    ) -> Masks:
        """See `EagerMaskDecoder.forward`."""
        decoded = [self._decode(*part, fine) for part in zip(image, sparse, dense, strict=True)]
        logits, tokens = (torch.stack(parts) for parts in zip(*decoded, strict=True))
        return self._chosen(logits, tokens, several)

    def _decode(
        self, image: torch.Tensor, sparse: torch.Tensor, dense: torch.Tensor, fine: Fine
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """For one object: logits of all masks (M, 4h, 4w) and all tokens (T, C)."""
        tokens = prompt = torch.cat([self._start, sparse])
        torch.add(image.flatten(1).mT, dense.flatten(1).mT, out=self._image)
        torch.add(self._image, self._position, out=self._placed)
        for layer in cast(Iterable[_Layer], self._layers):
            tokens = layer(tokens, prompt, self._image, self._placed, self._position)
        tokens = self._norm(tokens + self._last(tokens + prompt, self._placed, self._image))
        networks = zip(self._eager.output_hypernetworks_mlps, tokens[2:], strict=False)
        weights = torch.cat([network(token[None]) for network, token in networks])
        return self._enlarge(self._image, image.shape[-1], fine, weights), tokens

    def _chosen(self, logits: torch.Tensor, tokens: torch.Tensor, several: bool) -> Masks:
        eager = self._eager
        qualities, scores = eager.iou_prediction_head(tokens[:, 1]), eager.pred_obj_score_head(tokens[:, 0])
        outputs = tokens[:, 2 : 2 + eager.num_mask_tokens]
        if several:
            kept = outputs[:, 1:] if eager.use_multimask_token_for_obj_ptr else outputs[:, :1]
            return logits[:, 1:], qualities[:, 1:], kept, scores
        if eager.dynamic_multimask_via_stability:
            logits, qualities = eager._dynamic_multimask_via_stability(logits, qualities)
        return logits[:, :1], qualities[:, :1], outputs[:, :1], scores


class _Layer(nn.Module):
    """Tokens look at each other, at the image, and the image at them."""

    def __init__(self, eager: TwoWayAttentionBlock) -> None:
        super().__init__()
        self._fresh: bool = eager.skip_first_layer_pe
        self._look = eager.self_attn
        self._to_image = _ToImage(eager.cross_attn_token_to_image)
        self._to_tokens = _ToTokens(eager.cross_attn_image_to_token)
        self._mlp = eager.mlp
        self._norms = nn.ModuleList((eager.norm1, eager.norm2, eager.norm3, eager.norm4))

    def forward(
        self,
        tokens: torch.Tensor,
        prompt: torch.Tensor,
        image: torch.Tensor,
        placed: torch.Tensor,
        position: torch.Tensor,
    ) -> torch.Tensor:
        """Tokens (T, C) to the same.

        Args:
            prompt: (T, C), added to tokens where they are compared.
            image: (N, C), overwritten by what it is after this layer.
            placed: (N, C), the image with position added, likewise.
            position: (N, C).
        """
        if self._fresh:
            tokens = self._look(tokens[None], tokens[None], tokens[None])[0]
        else:
            compared = (tokens + prompt)[None]
            tokens = tokens + self._look(compared, compared, tokens[None])[0]
        tokens = self._norms[0](tokens)
        tokens = self._norms[1](tokens + self._to_image(tokens + prompt, placed, image))
        tokens = self._norms[2](tokens + self._mlp(tokens))
        look = self._to_tokens.at(tokens + prompt, tokens)
        for here, there, where in _pieces(image, placed, position):
            here.copy_(self._norms[3](here.add_(look(there))))
            torch.add(here, where, out=there)
        return torch.as_tensor(tokens)


class _ToImage(nn.Module):
    """Attention of tokens to the image."""

    def __init__(self, eager: Attention) -> None:
        super().__init__()
        self._heads: int = eager.num_heads
        self._query, self._out = eager.q_proj, eager.out_proj
        width = eager.internal_dim // self._heads
        self._key = _by_head(eager.k_proj.weight, self._heads) * width**-0.5
        self._value, self._value_bias = _by_head(eager.v_proj.weight, self._heads), eager.v_proj.bias

    def forward(self, tokens: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Tokens (T, C), keys and values (N, C) to (T, C)."""
        queries = _heads_of(self._query(tokens), self._heads) @ self._key  # H, T, C
        weights = (queries.flatten(0, 1) @ keys.mT).softmax(dim=-1)
        means = (weights @ values).view(self._heads, len(tokens), -1)
        found = (means @ self._value.mT).transpose(0, 1).flatten(1) + self._value_bias  # T, H * c
        return torch.as_tensor(self._out(found))


class _ToTokens(nn.Module):
    """Attention of the image to tokens."""

    def __init__(self, eager: Attention) -> None:
        super().__init__()
        self._heads: int = eager.num_heads
        width = eager.internal_dim // self._heads
        self._key, self._value = eager.k_proj, eager.v_proj
        self._query = _by_head(eager.q_proj.weight, self._heads) * width**-0.5
        self._query_bias = eager.q_proj.bias.detach().view(self._heads, width, 1) * width**-0.5
        self._out = _by_head(eager.out_proj.weight.mT, self._heads)
        self._bias = eager.out_proj.bias

    def at(self, keys: torch.Tensor, values: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Keys and values (T, C) to what finds for queries (N, C) their (N, C)."""
        compared, told = _heads_of(self._key(keys), self._heads), _heads_of(self._value(values), self._heads)
        bias, weight = (compared @ self._query_bias).flatten(0, 1), (compared @ self._query).flatten(0, 1)
        answers = (told @ self._out).flatten(0, 1)

        def find(queries: torch.Tensor) -> torch.Tensor:
            scores = torch.addmm(bias, weight, queries.mT).view(self._heads, len(keys), -1)
            return torch.addmm(self._bias, scores.softmax(dim=1).flatten(0, 1).mT, answers)

        return find


class _Enlarge(nn.Module):
    """Tokens of the image to logits of the masks, four times as fine, each token by itself.

    Convolutions that turn a pixel into 2x2 are linear layers of their pixel. So all that a token becomes is kept
    together, [token][row, column of 2x2][row, column of 2x2 in these], until it is a logit.
    """

    def __init__(self, eager: nn.Sequential) -> None:
        super().__init__()
        first, norm, self._activation, second, _ = eager
        first, second = cast(nn.ConvTranspose2d, first), cast(nn.ConvTranspose2d, second)
        self._first, self._second = _of_pixels(first), _of_pixels(second)
        self._first_bias, self._second_bias = torch.as_tensor(first.bias), torch.as_tensor(second.bias)
        self._norm = partial(
            F.layer_norm,
            normalized_shape=(first.out_channels,),
            weight=torch.as_tensor(norm.weight),
            bias=torch.as_tensor(norm.bias),
            eps=float(torch.as_tensor(norm.eps)),
        )

    def fine(self, finest: torch.Tensor, finer: torch.Tensor) -> Fine:
        """(1, c, 4h, 4w) and (1, 2c, 2h, 2w) to (N, 16c) and (N, 8c), to start sums with."""
        height, width = (size // 2 for size in finer.shape[2:])
        quarters = finest.view(-1, height, 2, 2, width, 2, 2).permute(1, 4, 2, 5, 3, 6, 0)
        halves = finer.view(-1, height, 2, width, 2).permute(1, 3, 2, 4, 0)
        quarters, halves = (part.clone(memory_format=torch.contiguous_format) for part in (quarters, halves))
        quarters += self._second_bias
        halves += self._first_bias
        return quarters.view(height * width, -1), halves.view(height * width, -1)

    def forward(self, image: torch.Tensor, width: int, fine: Fine, weights: torch.Tensor) -> torch.Tensor:
        """Makes logits.

        Args:
            image: (N, C).
            width: w.
            fine: from `fine`.
            weights: (M, c), what masks look for.

        Returns:
            (M, 4h, 4w).
        """
        made = []
        for tokens, finest, finer in _pieces(image, *fine):
            x = torch.addmm(finer, tokens, self._first).view(-1, len(self._second))
            x = self._activation(self._norm(x))
            x = torch.addmm(finest.view(len(x), -1), x, self._second).view(-1, weights.shape[1])
            made.append(weights @ self._activation(x).mT)
        logits = torch.cat(made, dim=1).view(len(weights), -1, width, 2, 2, 2, 2)
        return logits.permute(0, 1, 3, 5, 2, 4, 6).reshape(len(weights), -1, 4 * width)


def _by_head(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """A projection (H * c, C) as (H, c, C)."""
    return weight.detach().reshape(heads, -1, weight.shape[1])


def _heads_of(tokens: torch.Tensor, heads: int) -> torch.Tensor:
    """(T, H * c) as (H, T, c)."""
    return tokens.view(len(tokens), heads, -1).transpose(0, 1)


def _of_pixels(grow: nn.ConvTranspose2d) -> torch.Tensor:
    """The weight of a convolution that turns pixels into 2x2, (C, C', 2, 2), as (C, 2 * 2 * C')."""
    return grow.weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous()


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Some tokens of each (N, ...) at a time."""
    return zip(*(torch.split(each, PIECE) for each in tensors), strict=True)
