"""Convert released Adventurer or Mamba-Reg weights to an OpenMMLab checkpoint."""

from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.models.utils import convert_released


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('source', help='released file')
    parser.add_argument('target', help='checkpoint to write')
    args = parser.parse_args()
    cfg, report = convert_released(args.source, args.target)
    print(f'{args.target}: {report}')
    print(f"use it with backbone=dict("
          f"{', '.join(f'{k}={v!r}' for k, v in cfg.items())}, init_cfg=dict(type='Pretrained', "
          f"checkpoint='{args.target}', prefix='backbone.'))")


if __name__ == '__main__':
    main()
