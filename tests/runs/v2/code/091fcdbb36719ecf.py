from PIL import Image

def make_gif(path):
    frames = [Image.new('RGB', (90, 90), 'white') for _ in range(24)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=40, loop=0)
