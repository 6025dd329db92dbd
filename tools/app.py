"""A page in the browser that sets two networks side by side: maps, time and memory.

    pip install 'mmvitlin[app]'
    python tools/app.py work_dirs/demo/seed0/teacher work_dirs/demo/seed0/distilled
    python tools/app.py softmax=CONFIG.py,CHECKPOINT.pth linear=OTHER.py,OTHER.pth --port 7860

A network is the work directory of a finished run, or CONFIG,CHECKPOINT, either with a name before
an equals sign. Segmentors only.
"""
from mmvitlin.utils.environment import short_openmp_spin

short_openmp_spin()

from mmvitlin.apis import SegInferencer
from mmvitlin.apis.web import SideBySide, build_page
from mmvitlin.engine.runner.cli import Parser, friendly
from mmvitlin.experiments.run_folders import networks_of


@friendly
def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument('networks', nargs='+', metavar='[NAME=]NETWORK', help='see above')
    parser.add_argument('--width', type=int, default=512, help='of the image, at first')
    parser.add_argument('--widest', type=int, default=2048, help='pixels')
    parser.add_argument('--device')
    parser.add_argument('--precision', default='fp32')
    parser.add_argument('--host', default='127.0.0.1', help='0.0.0.0 lets other machines in')
    parser.add_argument('--port', type=int, default=7860, help='of the page')
    args = parser.parse_args()
    networks = {name: SegInferencer(*made, device=args.device, precision=args.precision,
                                    scale='original')
                for name, made in networks_of(args.networks).items()}
    page = build_page(SideBySide(networks), (64, args.widest), args.width)
    page.launch(server_name=args.host, server_port=args.port, share=False)


if __name__ == '__main__':
    main()
